export {
  defineConfig,
  describeSettings,
  setting,
  type ConfigClass,
  type ConfigValues,
  type Setting,
  type SettingDescription,
} from './define-config.ts';
export { chassisSettings, type ChassisConfig } from './chassis-settings.ts';
export { InvalidConfigError } from './invalid-config.error.ts';
